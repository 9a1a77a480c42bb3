"""The miner's pool: Stratum V1 codec, the bridge, job dispatch, and what its timing can be trusted to."""
