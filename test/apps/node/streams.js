// Timers, promises, a worker thread, hashing on the thread pool, and objects for the collector. Everything is printed in a fixed order.
const crypto = require('crypto');
const fs = require('fs');
const { Worker } = require('worker_threads');
const { promisify } = require('util');
const pause = promisify(setTimeout);
const pbkdf2 = promisify(crypto.pbkdf2);
const rounds = Number(process.argv[2]);

function primes(limit) {
  const marks = new Uint8Array(limit);
  let count = 0;
  for (let i = 2; i < limit; i++) {
    if (marks[i]) continue;
    count++;
    for (let j = i * 2; j < limit; j += i) marks[j] = 1;
  }
  return count;
}

const worker = new Worker(`
  const { parentPort } = require('worker_threads');
  parentPort.on('message', n => {
    let x = BigInt(n) + 3n;
    for (let i = 0; i < 3000; i++) x = (x * x + 12345n) % 1000000007000000000019n;
    parentPort.postMessage(String(x));
  });`, { eval: true });
const ask = n => new Promise(done => { worker.once('message', done); worker.postMessage(n); });

async function main() {
  const log = fs.createWriteStream('rounds.log');
  const objects = new Map();
  let ticks = 0;
  const clock = setInterval(() => ticks++, 5);
  for (let n = 0; n < rounds; n++) {
    const [key, big] = await Promise.all([pbkdf2('salted ' + n, 'salt', 400, 16, 'sha256'), ask(n), pause(2)]);
    for (let i = 0; i < 800; i++) objects.set('o' + (n * 800 + i) % 5000, { n, i, text: String(n * i) });
    log.write(`${n} ${primes(20000 + n)} ${objects.size}\n`);
    if (n % 10 === 0) console.log(n, key.toString('hex'), big);
  }
  clearInterval(clock);
  await worker.terminate();
  log.end(() => {
    console.log('ticked', ticks > 0, JSON.stringify([...objects.values()]).length);
    process.exitCode = 9;
  });
}
main();
