// How a wallet's day is told: the arguments every script takes, steps that are timed and counted, one JSON line.
//
//   node viem.mjs URL [--account N] [--seconds N]
//
// Without --seconds the first error ends the script with status 1. With it the day goes on until the time is
// up, every error is counted, and the status is 1 if there was any. `account` is the index of the dev account
// that the wallet owns alone, so that several wallets can live on one chain.
import { readFileSync } from 'node:fs';

export const MNEMONIC = 'test test test test test test test test test test test junk';
export const CHAIN_ID = 31337;
// a contract with a write, a read, an event and a revert with a reason; bell.json holds its assembly
export const bell = JSON.parse(readFileSync(new URL('./bell.json', import.meta.url)));
// no answer within this is an error: a browser wallet gives up or shows a banner long before
const PATIENCE_MS = 20_000;
// how much longer than asked a day may take, the last step included
const OVERTIME_MS = 30_000;
// errors told in full; the rest is only counted
const ERRORS_MAX = 10;

export class Day {
  constructor(client) {
    const args = process.argv.slice(2);
    const option = (name, otherwise) => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : otherwise);
    this.client = client;
    this.url = args[0] ?? 'http://127.0.0.1:8545';
    this.account = option('--account', 0);
    this.seconds = option('--seconds', 0);
    this.steps = 0;
    this.sends = 0;
    this.slowestMs = 0;
    this.slowest = '';
    this.errorCount = 0;
    this.errors = [];
  }

  error(step, error) {
    this.errorCount += 1;
    const text = String(error?.shortMessage ?? error?.message ?? error).slice(0, 400);
    const cause = error?.details ?? error?.cause?.message ?? error?.info?.error?.message;
    if (this.errors.length < ERRORS_MAX) {
      this.errors.push(`${new Date().toISOString()} ${step}: ${text}${cause ? ` (${String(cause).slice(0, 200)})` : ''}`);
    }
  }

  // One thing the wallet does. Its result, or undefined when it failed in a long day.
  async step(name, act) {
    const start = performance.now();
    let timer;
    try {
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE_MS} ms`)), PATIENCE_MS);
      });
      return await Promise.race([act(), late]);
    } catch (error) {
      this.error(name, error);
      if (!this.seconds) this.finish();
      return undefined;
    } finally {
      clearTimeout(timer);
      this.steps += 1;
      const took = performance.now() - start;
      // waiting for a block is no sign of slowness
      if (took > this.slowestMs && !name.startsWith('wait')) [this.slowestMs, this.slowest] = [Math.round(took), name];
    }
  }

  expect(condition, text) {
    if (!condition) throw new Error(text);
  }

  // `whole` once; then, in a long day, `round(n)` again and again until the time is up.
  async live(whole, round) {
    console.error('up');
    const end = Date.now() + this.seconds * 1000;
    setTimeout(() => {
      this.error('day', new Error(`it did not end ${OVERTIME_MS} ms after its time`));
      this.finish();
    }, this.seconds * 1000 + OVERTIME_MS);
    await whole();
    for (let n = 0; Date.now() < end; n += 1) {
      await round(n);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.finish();
  }

  finish() {
    const { client, steps, sends, slowestMs, slowest, errorCount, errors, extra } = this;
    console.log(JSON.stringify({ client, steps, sends, slowest_ms: slowestMs, slowest, error_count: errorCount, errors, ...extra }));
    process.exit(errorCount ? 1 : 0);
  }
}
