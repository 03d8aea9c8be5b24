// ethers sends one transfer and waits for it.
//
//   node ethers.mjs URL KEY
//
// What it writes is said in viem.mjs.
import { JsonRpcProvider, Wallet } from 'ethers';

const [url, key] = process.argv.slice(2);
const tell = (what) => console.log(JSON.stringify(what));
const provider = new JsonRpcProvider(url, undefined, { pollingInterval: 200 });
const wallet = new Wallet(key, provider);

try {
  const sent = await wallet.sendTransaction({ to: wallet.address, value: 1n });
  tell({ sent: sent.hash });
  const receipt = await sent.wait(1, 30_000);
  tell({ mined: receipt.hash, success: receipt.status === 1 });
} catch (error) {
  tell({ error: String(error?.shortMessage ?? error?.message ?? error).slice(0, 400) });
}
process.exit(0);
