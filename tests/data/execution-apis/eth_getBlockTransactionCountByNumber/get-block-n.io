// transactions of a block
>> {"jsonrpc":"2.0","id":1,"method":"eth_getBlockTransactionCountByNumber","params":["0x2d"]}
<< {"jsonrpc":"2.0","id":1,"result":"0x1"}
