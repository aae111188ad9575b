// A JavaScript computation with objects, strings, typed arrays, timers and a file that grows.
import { appendFileSync } from 'fs';
const rounds = Number(process.argv[2]);
const words = new Map();
let state = 17;
const dice = n => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) % n;
let ticks = 0;
const clock = setInterval(() => ticks++, 4);
for (let n = 0; n < rounds; n++) {
  const grid = new Float64Array(4096);
  for (let i = 0; i < grid.length; i++) grid[i] = Math.sin(i * n) * dice(100);
  grid.sort();
  for (let i = 0; i < 300; i++) {
    const word = Array.from({ length: 3 + dice(4) }, () => String.fromCharCode(97 + dice(6))).join('');
    words.set(word, (words.get(word) ?? 0) + 1);
  }
  if (n % 20 === 0) {
    console.log(n, grid[100].toFixed(9), words.size);
    appendFileSync('crunch.log', JSON.stringify([n, state, grid[4000]]) + '\n');
    await Bun.sleep(2);
  }
}
clearInterval(clock);
const top = [...words].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 10);
console.log('ticked', ticks > 0, JSON.stringify(top));
process.exit(11);
