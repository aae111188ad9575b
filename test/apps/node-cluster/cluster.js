// A primary with two workers of node:cluster that it asks by messages, a forked child, a spawned filter, a worker thread.
'use strict';
const cluster = require('node:cluster');
const { createHash } = require('node:crypto');
const { fork, spawn, execFile } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');

function digest(n) {
  let value = Buffer.from(String(n));
  for (let i = 0; i < 2000; i++) value = createHash('sha256').update(value).digest();
  return value.toString('hex').slice(0, 16);
}

function answerMessages() {
  process.on('message', (n) => (n === null ? process.exit(4) : process.send([n, digest(n)])));
}

// Hands the numbers to whoever is free, and returns the answers in the order of the numbers.
async function askAll(children, count) {
  const answers = new Array(count);
  let next = 0;
  await Promise.all(children.map(async (child) => {
    while (next < count) {
      const n = next++;
      child.send(n);
      const [[number, text]] = await once(child, 'message');
      answers[number] = text;
    }
    child.send(null);
    const [code] = await once(child, 'exit');
    if (code !== 4) throw new Error(`a child ended with ${code}`);
  }));
  return answers;
}

async function filter(text) {
  const sort = spawn('sort', ['-r']);
  const parts = [];
  sort.stdout.on('data', (part) => parts.push(part));
  sort.stdin.end(text);
  const [code] = await once(sort, 'close');
  return `${code} ${createHash('sha256').update(Buffer.concat(parts)).digest('hex')}`;
}

async function main() {
  const count = Number(process.argv[2]);
  const thread = new Worker(__filename, { workerData: count });
  const fromThread = once(thread, 'message');
  cluster.setupPrimary({ args: ['answer'] });
  const answers = await askAll([cluster.fork(), cluster.fork()], count);
  const forked = await askAll([fork(__filename, ['answer'])], count >> 2);
  fs.writeFileSync('answers.txt', answers.join('\n') + '\n' + forked.join('\n') + '\n');
  console.log('sorted:', await filter(answers.join('\n')));
  console.log('echoed:', await new Promise((done) => execFile('expr', ['6', '*', '7'], (error, out) => done(out.trim()))));
  const [text] = await fromThread;
  console.log('thread:', text);
  process.exitCode = 13;
}

if (!isMainThread) parentPort.postMessage(Array.from({ length: workerData >> 2 }, (_, n) => digest(-n)).join('').slice(-40));
else if (cluster.isWorker || process.argv[2] === 'answer') answerMessages();
else main();
