BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
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
INSERT INTO "events" VALUES(1,1,1,1768125330000000008,11,'device','info','{"url": "lv06://127.0.0.1"}');
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
	symbol_fields TEXT, 
	sent_wall_ns BIGINT, 
	sent_monotonic_ns BIGINT, 
	claimtrie TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "jobs" VALUES(1,1,1,1,'1f','abababababababababababababababababababababababababababababababab','01','02','[]','20000000','1d00ffff','69637392','0000ffff',4,1,256.0,9.5367431640625e-07,536862720,0.5,NULL,1768125330000000002,6,'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd');
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
INSERT INTO "miners" VALUES(1,1,1,'lv06.0','axe','127.0.0.1','lv06','0000ffff',536862720,9.5367431640625e-07,NULL,1768125330000000001);
CREATE TABLE recorded_bytes (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	miner INTEGER, 
	link TEXT NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	kernel_ns BIGINT, 
	monotonic_ns BIGINT, 
	wall_ns BIGINT, 
	data BLOB NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "recorded_bytes" VALUES(1,1,1,'http://127.0.0.1/api','received',NULL,10,1768125330000000008,X'00FF7B7D');
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
INSERT INTO "runs" VALUES(1,'20260111T095530-b0b0','live','bridge',0,'stream',1768125330000000001,5,1768125330000000021,'success','stopped by SIGINT','{"difficulty": 256.0}','{"jobs": 7}','{}','{}','{}','{}','{}',81,'tsc','{}','[]','',1,2);
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
INSERT INTO "settings" VALUES(1,1,1,1768125330000000007,'frequency_mhz','485','450','450','sweep');
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
	response_ns BIGINT, 
	since_notify_ns BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "shares" VALUES(1,1,1,1,'1f','01000000','69637392','deadbeef','00002000',257.5,1,NULL,1768125330000000004,8,1768125330000000005,NULL,3,3);
INSERT INTO "shares" VALUES(2,1,1,1,'1f','02000000','69637392','deadbeef','00002000',300.5,1,NULL,1768125330000000014,18,1768125330000000015,10,13,13);
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
INSERT INTO "telemetry" VALUES(1,1,1,1768125330000000006,9,60.25,48.5,1210.0,485.0,14.2,4400.0,70.0,480.5,'{"temp": 60.25}');
INSERT INTO "telemetry" VALUES(2,1,NULL,9007199254740993,NULL,21.5,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
COMMIT;
