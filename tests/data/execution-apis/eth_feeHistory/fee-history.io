// fees of the last two blocks; ratios are no integers
>> {"jsonrpc":"2.0","id":1,"method":"eth_feeHistory","params":["0x2","latest",[95,99.5]]}
<< {"jsonrpc":"2.0","id":1,"result":{"oldestBlock":"0x2c","reward":[["0x1","0x1"],["0x1","0x1"]],"baseFeePerGas":["0x35e6bd2a","0x2f4a71b0","0x2962b5e4"],"gasUsedRatio":[0.000070,7e-05],"baseFeePerBlobGas":["0x1","0x1","0x1"],"blobGasUsedRatio":[0,0]}}
