"""The BM13xx family over its UART: pure codecs, the serial port, one chain of chips, and that chain as a miner."""
