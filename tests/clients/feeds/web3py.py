"""web3.py over WebSocket: eth_subscribe for newHeads and logs on one persistent connection.

    python web3py.py URL --contract ADDRESS

What it writes is said in told.mjs.
"""
import argparse
import asyncio
import json

from web3 import AsyncWeb3, WebSocketProvider

RANG = "0x568004d1c712e9de32b6bfbe7228d41026359611c76e4d6d4c27807fd7f68a94"

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("--contract", required=True)
options = parser.parse_args()


def tell(what):
    print(json.dumps(what), flush=True)


async def listen():
    async with AsyncWeb3(WebSocketProvider(options.url)) as web3:
        heads = await web3.eth.subscribe("newHeads")
        await web3.eth.subscribe("logs", {"address": web3.to_checksum_address(options.contract), "topics": [RANG]})
        tell({"up": True})
        async for message in web3.socket.process_subscriptions():
            result = message["result"]
            if message["subscription"] == heads:
                tell({"block": result["number"], "hash": "0x" + result["hash"].hex().removeprefix("0x")})
            else:
                hexes = [result[key].hex().removeprefix("0x") for key in ("transactionHash", "blockHash")]
                removed = result.get("removed", False)
                tell({"log": "0x" + hexes[0], "block": result["blockNumber"], "hash": "0x" + hexes[1], "removed": removed})


try:
    asyncio.run(listen())
except Exception as error:  # whatever ends the feed is what we look for
    tell({"error": f"{type(error).__name__} {error}"[:400]})
