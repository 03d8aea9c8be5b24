// ethers 6 over WebSocket: a listener for blocks and one for a contract's logs. Its block event tells numbers only.
import { WebSocketProvider } from 'ethers';
import { contract, RANG, told, url } from './told.mjs';

const provider = new WebSocketProvider(url, undefined, { staticNetwork: true });
provider.on('error', told.error);
provider.websocket.addEventListener('close', ({ code, reason }) => told.error(`closed: ${code} ${reason}`));
await provider.on('block', (number) => told.block(number));
await provider.on({ address: contract, topics: [RANG] }, told.log);
// the node answers in order: when this one is answered, both subscriptions are in place
await provider.send('eth_chainId', []);
told.up();
