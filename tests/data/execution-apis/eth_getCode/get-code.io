// code of a contract
>> {"jsonrpc":"2.0","id":1,"method":"eth_getCode","params":["0x0c2c51a0990aee1d73c1228de158688341557508","latest"]}
<< {"jsonrpc":"2.0","id":1,"result":"0x6080604052348015600f57600080fd5b50600436106028"}
