// viem and ethers over HTTP, both watching logs through filters (eth_newFilter, eth_getFilterChanges) and viem blocks too
// (eth_newBlockFilter). A filter that is gone is an error here: viem would make another one and say nothing of what it missed.
//
//   node polls.mjs URL --contract ADDRESS --client viem|ethers
import { createPublicClient, http } from 'viem';
import { JsonRpcProvider } from 'ethers';
import { bell } from '../wallets/day.mjs';
import { contract, RANG, told, url } from './told.mjs';

const POLL_MS = 100;

async function viem() {
  const client = createPublicClient({ transport: http(url, { retryCount: 0 }), pollingInterval: POLL_MS });
  const event = bell.abi.find((item) => item.type === 'event');
  const filter = await client.createEventFilter({ address: contract, event });
  const blocks = await client.createBlockFilter();
  told.up();
  for (;;) {
    try {
      for (const hash of await client.getFilterChanges({ filter: blocks })) told.block(NaN, hash);
      for (const log of await client.getFilterChanges({ filter })) told.log(log);
    } catch (error) {
      told.error(error);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function ethers() {
  const provider = new JsonRpcProvider(url, undefined, { polling: false, pollingInterval: POLL_MS, cacheTimeout: -1, staticNetwork: true });
  provider.on('debug', ({ action, error, result }) => {
    if (action === 'receiveRpcError') told.error(error);
    if (action === 'receiveRpcResult') for (const answer of [result].flat()) if (answer.error) told.error(answer.error.message);
  });
  let filtered;
  const made = new Promise((resolve) => { filtered = resolve; });
  provider.on('debug', ({ action, payload }) => {
    const methods = action === 'sendRpcPayload' ? [payload].flat().map((call) => call.method) : [];
    if (methods.includes('eth_getFilterChanges')) filtered();
  });
  await provider.on({ address: contract, topics: [RANG] }, told.log);
  await made;
  told.up();
}

const client = process.argv[process.argv.indexOf('--client') + 1];
await { viem, ethers }[client]();
