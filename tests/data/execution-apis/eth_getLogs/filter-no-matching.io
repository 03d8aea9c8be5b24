// no logs
>> {"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{"fromBlock":"0x1","toBlock":"0x2d","topics":["0x0000000000000000000000000000000000000000000000000000000000000001"]}]}
<< {"jsonrpc":"2.0","id":1,"result":[]}
