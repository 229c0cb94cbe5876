-- A table that was made, and sessions that were stored, before sessions had a ttl of their own.
CREATE TABLE former_sessions (
	id_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	key_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	session_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	data LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	created_at DOUBLE,
	expires_at DOUBLE,
	deadline DOUBLE,
	id_key CHAR(8) CHARACTER SET ascii COLLATE ascii_bin,
	PRIMARY KEY (id_hash)
);
CREATE INDEX ix_former_sessions_expires_at ON former_sessions (expires_at);
CREATE INDEX ix_former_sessions_key_hash ON former_sessions (key_hash);
INSERT INTO former_sessions (id_hash, key_hash, session_key, data, created_at, expires_at, deadline, id_key) VALUES ('eca5992c7b549d09f4e6118bfba05dae470d7f5e2a4e30e2e80caf820e7c0f56', '49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1', 'ann', '{"role": "admin", "name": "\\u00c6nn \\u2603"}', 1700000000.0, 1700003600.0, NULL, NULL);
INSERT INTO former_sessions (id_hash, key_hash, session_key, data, created_at, expires_at, deadline, id_key) VALUES ('57b5fc071edf4ef37fdb8d792a679fd2024d96e8ac1366b0b3439a43d8458131', '49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1', 'ann', '{"endless": true}', 1700000000.0, NULL, NULL, NULL);
INSERT INTO former_sessions (id_hash, key_hash, session_key, data, created_at, expires_at, deadline, id_key) VALUES ('f81a2a6285e9a7c6593bff1d77ce63385a14ffe0c1119f9cd09b9f05ea69ddaa', '4c461700dfbf281501e57be349f4a87978c22eda2ab3e7bf980fcc5d7c3ffe02', 'b\\xf8b\\n', '{"deadline": 1}', 1700000000.0, 1700003600.0, 1700007200.0, NULL);
INSERT INTO former_sessions (id_hash, key_hash, session_key, data, created_at, expires_at, deadline, id_key) VALUES ('b9580cf29cb238f83beee4c466a5db8014cf3df50842b5f070476cba13833036', '85262adf74518bbb70c7cb94cd6159d91669e5a81edf1efebd543eadbda9fa2b', 'eve', 'J$_gAAAAABrB3hLQpuQX2l6Y_ML0kxohMTR_lzGpaiHPCnZXKYLdPbwARcarRn3ft1Wtl1nTkUtgxZLp8doxyCiF8oeAhzVrvV5_w==', 1700000000.0, 1700003600.0, NULL, 'a8b117e5');
