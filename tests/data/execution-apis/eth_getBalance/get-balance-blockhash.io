// a balance at a block given by hash (EIP-1898)
>> {"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x7dcd17433742f4c0ca53122ab541d0ba67fc27df",{"blockHash":"0x4f3a1d6bcae9a1d0b2e2d1c3ba0be34ca2f1e0b4c7a0f9ee6db4a2c9c4d1e2f3","requireCanonical":true}]}
<< {"jsonrpc":"2.0","id":1,"result":"0x78"}
