// nonces, latest and pending
>> {"jsonrpc":"2.0","id":1,"method":"eth_getTransactionCount","params":["0x7dcd17433742f4c0ca53122ab541d0ba67fc27df","latest"]}
<< {"jsonrpc":"2.0","id":1,"result":"0x6"}
>> {"jsonrpc":"2.0","id":2,"method":"eth_getTransactionCount","params":["0x7dcd17433742f4c0ca53122ab541d0ba67fc27df","pending"]}
<< {"jsonrpc":"2.0","id":2,"result":"0x7"}
