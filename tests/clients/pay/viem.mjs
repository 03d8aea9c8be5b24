// viem sends one transfer as its documentation shows it, and waits for the receipt; its retries are as they come.
//
//   node viem.mjs URL KEY
//
// How every script here tells it, one JSON line each: {"sent":"0x.."} once the wallet has a hash, {"mined":"0x..",
// "success":true} once it has the receipt, {"error":".."} when it gives up.
import { createPublicClient, createWalletClient, defineChain, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const [url, key] = process.argv.slice(2);
const tell = (what) => console.log(JSON.stringify(what));
const chain = defineChain({ id: 31337, name: 'lab', nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 }, rpcUrls: { default: { http: [url] } } });
const account = privateKeyToAccount(key);
const transport = http(url);
const reader = createPublicClient({ chain, transport, pollingInterval: 200 });
const wallet = createWalletClient({ chain, transport, account });

try {
  const hash = await wallet.sendTransaction({ to: account.address, value: 1n });
  tell({ sent: hash });
  const receipt = await reader.waitForTransactionReceipt({ hash, timeout: 30_000 });
  tell({ mined: receipt.transactionHash, success: receipt.status === 'success' });
} catch (error) {
  tell({ error: String(error?.message ?? error).slice(0, 400) });
}
