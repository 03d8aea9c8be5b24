// gas of a transfer
>> {"jsonrpc":"2.0","id":1,"method":"eth_estimateGas","params":[{"from":"0x7dcd17433742f4c0ca53122ab541d0ba67fc27df","to":"0x0c2c51a0990aee1d73c1228de158688341557508","value":"0x1"}]}
<< {"jsonrpc":"2.0","id":1,"result":"0x5208"}
