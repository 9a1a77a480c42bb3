BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0000');
CREATE TABLE events (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	miner INTEGER, 
	wall_ns BIGINT, 
	monotonic_ns BIGINT, 
	kind VARCHAR(48) NOT NULL, 
	severity VARCHAR(8) NOT NULL, 
	detail TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,1,NULL,NULL,NULL,'clock_step','warning','{"step_ns": -5}');
CREATE TABLE jobs (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	job INTEGER NOT NULL, 
	miner INTEGER, 
	job_id TEXT NOT NULL, 
	prevhash TEXT, 
	coinb1 TEXT, 
	coinb2 TEXT, 
	merkle_branch TEXT, 
	version TEXT, 
	nbits TEXT, 
	ntime TEXT, 
	extranonce1 TEXT, 
	extranonce2_size INTEGER, 
	clean BOOLEAN, 
	difficulty FLOAT, 
	scale FLOAT, 
	version_mask BIGINT, 
	symbol FLOAT, 
	sent_wall_ns BIGINT, 
	sent_monotonic_ns BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "jobs" VALUES(1,1,1,1,'1f','abababababababababababababababababababababababababababababababab','01','02','[]','20000000','1d00ffff','69637392','0000ffff',4,1,256.0,1.0,0,0.5,1768125330000000002,5);
CREATE TABLE miners (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	miner INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	user_agent TEXT, 
	address TEXT, 
	model VARCHAR(32), 
	extranonce1 TEXT, 
	version_mask BIGINT, 
	scale FLOAT NOT NULL, 
	floor FLOAT, 
	connected_wall_ns BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "miners" VALUES(1,1,1,'rig.1',NULL,NULL,'s9',NULL,NULL,1.0,256.0,NULL);
CREATE TABLE runs (
	run INTEGER NOT NULL, 
	run_id VARCHAR(40) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	unverified BOOLEAN NOT NULL, 
	mode VARCHAR(16), 
	started_wall_ns BIGINT, 
	started_monotonic_ns BIGINT, 
	ended_wall_ns BIGINT, 
	exit_status VARCHAR(16), 
	exit_reason TEXT, 
	config JSON NOT NULL, 
	seeds JSON NOT NULL, 
	plants JSON NOT NULL, 
	physics JSON NOT NULL, 
	versions JSON NOT NULL, 
	git JSON NOT NULL, 
	host JSON NOT NULL, 
	clock_tick_ns BIGINT, 
	clock_source VARCHAR(64), 
	jitter_floor JSON NOT NULL, 
	tags JSON NOT NULL, 
	notes TEXT NOT NULL, 
	first_share_id BIGINT, 
	last_share_id BIGINT, 
	PRIMARY KEY (run), 
	UNIQUE (run_id)
);
INSERT INTO "runs" VALUES(1,'5f0a1b2c-20260111-095530','live','bridge',0,'swh',1768125330000000001,NULL,NULL,'success',NULL,'{"difficulty": 256.0}','{}','{}','{}','{"python": "3.11.2"}','{"sha": null, "dirty": null}','{}',40,NULL,'{}','["old"]','kept',1,3);
INSERT INTO "runs" VALUES(2,'77aa0000-20260111-100000','live','bridge',0,NULL,NULL,NULL,NULL,NULL,NULL,'{}','{}','{}','{}','{}','{}','{}',NULL,NULL,'{}','[]','',4,NULL);
CREATE TABLE settings (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	miner INTEGER, 
	wall_ns BIGINT, 
	setting TEXT NOT NULL, 
	previous TEXT, 
	requested TEXT, 
	measured TEXT, 
	reason TEXT, 
	PRIMARY KEY (id)
);
CREATE TABLE shares (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	miner INTEGER NOT NULL, 
	job INTEGER, 
	job_id TEXT, 
	extranonce2 TEXT, 
	ntime TEXT, 
	nonce TEXT, 
	version_bits TEXT, 
	difficulty FLOAT, 
	valid BOOLEAN, 
	reason TEXT, 
	kernel_ns BIGINT, 
	monotonic_ns BIGINT, 
	wall_ns BIGINT, 
	interval_ns BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "shares" VALUES(1,1,1,1,'1f','00000000','69637392','8b7746ab',NULL,300.25,1,NULL,NULL,10,1768125330000000004,NULL);
INSERT INTO "shares" VALUES(2,1,1,1,'1f','00000001','69637392','8b7746ab',NULL,300.25,1,NULL,1768125330000000004,11,1768125330000000005,1);
INSERT INTO "shares" VALUES(3,1,1,1,'1f','00000002','69637392','8b7746ab',NULL,300.25,1,NULL,1768125330000000005,12,1768125330000000006,1);
INSERT INTO "shares" VALUES(4,2,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,9007199254740993,NULL);
CREATE TABLE telemetry (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	miner INTEGER, 
	wall_ns BIGINT, 
	monotonic_ns BIGINT, 
	temperature_c FLOAT, 
	board_temperature_c FLOAT, 
	voltage_mv FLOAT, 
	frequency_mhz FLOAT, 
	power_w FLOAT, 
	fan_rpm FLOAT, 
	fan_percent FLOAT, 
	hash_rate_ghs FLOAT, 
	raw TEXT, 
	PRIMARY KEY (id)
);
COMMIT;
