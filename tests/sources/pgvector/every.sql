CREATE EXTENSION IF NOT EXISTS vector;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE every (
  id bigint PRIMARY KEY, embedding vector(3) NOT NULL, b bool, i2 smallint, i4 int, f4 real, f8 double precision, o oid,
  t text, vc varchar(20), ch char(5), u uuid, js json, jb jsonb, nu numeric, d date, ts timestamp, tz timestamptz,
  bin bytea, iv interval, m mood, dom positive, p pair, ci citext, net inet, r int4range,
  ab bool[], ai int[], a8 bigint[], a2 smallint[], af real[], ad double precision[], at text[], au uuid[],
  deep int[][], gappy int[], gen int GENERATED ALWAYS AS (i4 + 1) STORED);
INSERT INTO every
SELECT n, ARRAY[n, n / 3.0, -n]::vector, n % 2 = 0, n - 100, n * 100000 - 2147483, n / 7.0, n / 7.0::float8, 4294967295 - n,
  (ARRAY['', 'ü"\ 😀' || n, E'line\n' || n])[n % 3 + 1], 'v' || n, 'c' || n,
  ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
  json_build_object('n', n, 'text', 'ü"'), jsonb_build_object('n', n, 'x', ARRAY[1, 2], 'nothing', NULL),
  (ARRAY['NaN'::numeric, n * 1.250, -n / 1000000.0, n * 100000000000000000000.5, 'Infinity'])[n % 5 + 1],
  CASE n % 50 WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 BC' ELSE date '1999-12-28' + n END,
  CASE n % 50 WHEN 1 THEN '-infinity' ELSE timestamp '1999-12-31 23:59:59.999999' + n * interval '1 hour' END,
  timestamptz '2024-02-28 12:00:00.5+02' + n * interval '1 day',
  decode(lpad(to_hex(n), 4, '0'), 'hex'), n * interval '1 hour 1 minute', (ARRAY['sad', 'happy'])[n % 2 + 1]::mood,
  n + 1, ROW(n, 'x')::pair, 'Ci' || n, '10.0.0.1', int4range(n, n + 5),
  ARRAY[true, n % 2 = 0], ARRAY[n, n + 1], ARRAY[n::bigint * 10000000000], ARRAY[1, n % 7]::smallint[], ARRAY[n / 3.0]::real[],
  ARRAY[0.1, n], ARRAY['a', 'ü' || n], ARRAY[('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid],
  ARRAY[ARRAY[n, 1], ARRAY[2, 3]], ARRAY[n, NULL]
FROM generate_series(1, 300) n;
CREATE TABLE holes AS SELECT * FROM every WHERE id <= 40;
ALTER TABLE holes ADD PRIMARY KEY (id);
UPDATE holes SET b = NULL, i2 = NULL, i4 = NULL, f4 = NULL, f8 = NULL, o = NULL, t = NULL, u = NULL, js = NULL, jb = NULL,
  nu = NULL, d = NULL, ts = NULL, tz = NULL, bin = NULL, m = NULL, p = NULL, ab = NULL, ai = NULL, at = NULL, gen = NULL
WHERE id % 2 = 0;
CREATE TABLE vectors (id uuid PRIMARY KEY, h halfvec(4), s sparsevec(70000), bt bit(12), v vector, hv halfvec);
INSERT INTO vectors
SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, ARRAY[n, n / 3.0, 0, -1]::halfvec,
  format('{1:%s,%s:0.5}/70000', n, n + 69000)::sparsevec, (n * 7 % 4096)::bit(12), ARRAY[n, 0.5]::vector, ARRAY[n]::halfvec
FROM generate_series(1, 200) n;
