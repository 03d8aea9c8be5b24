// a filter is made, read and removed
>> {"jsonrpc":"2.0","id":1,"method":"eth_newFilter","params":[{"fromBlock":"latest"}]}
<< {"jsonrpc":"2.0","id":1,"result":"0x9d3f1b8a2c4e6071"}
>> {"jsonrpc":"2.0","id":2,"method":"eth_getFilterChanges","params":["0x9d3f1b8a2c4e6071"]}
<< {"jsonrpc":"2.0","id":2,"result":[{"address":"0x0c2c51a0990aee1d73c1228de158688341557508","topics":["0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef","0x0000000000000000000000007dcd17433742f4c0ca53122ab541d0ba67fc27df"],"data":"0x00000000000000000000000000000000000000000000000000000000000003e8","blockNumber":"0x2d","transactionHash":"0xb51ee5ecfffca5dc9f2a51ccf59b3a0cc3f5ee7ae2f2bd0f2e6b3aab20a4c5d7","transactionIndex":"0x0","blockHash":"0x4f3a1d6bcae9a1d0b2e2d1c3ba0be34ca2f1e0b4c7a0f9ee6db4a2c9c4d1e2f3","blockTimestamp":"0x1c2","logIndex":"0x0","removed":false}]}
>> {"jsonrpc":"2.0","id":3,"method":"eth_uninstallFilter","params":["0x9d3f1b8a2c4e6071"]}
<< {"jsonrpc":"2.0","id":3,"result":true}
