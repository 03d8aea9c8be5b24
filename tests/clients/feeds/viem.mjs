// viem over WebSocket: watchBlocks and watchEvent, which subscribe; its own reconnecting is off, a lost socket is an error.
import { createPublicClient, webSocket } from 'viem';
import { bell } from '../wallets/day.mjs';
import { contract, told, url } from './told.mjs';

const transport = webSocket(url, { reconnect: false, retryCount: 0 });
const client = createPublicClient({ transport });
const event = bell.abi.find((item) => item.type === 'event');
client.watchBlocks({ onBlock: (block) => told.block(block.number, block.hash), onError: told.error });
client.watchEvent({ address: contract, event, onLogs: (logs) => logs.forEach(told.log), onError: told.error });
// the node answers in order: when this one is answered, both subscriptions are in place
await client.getChainId();
told.up();
