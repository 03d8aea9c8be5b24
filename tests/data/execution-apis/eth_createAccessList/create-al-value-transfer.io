// an access list
>> {"jsonrpc":"2.0","id":1,"method":"eth_createAccessList","params":[{"from":"0x7dcd17433742f4c0ca53122ab541d0ba67fc27df","to":"0x0c2c51a0990aee1d73c1228de158688341557508","value":"0x10"},"latest"]}
<< {"jsonrpc":"2.0","id":1,"result":{"accessList":[],"gasUsed":"0x5208"}}
