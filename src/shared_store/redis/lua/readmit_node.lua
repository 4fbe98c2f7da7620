-- Readmits a removed instance. Returns 0 if it was not removed.
-- KEYS: balancing
-- ARGV: field
if redis.call('HGET', KEYS[1], ARGV[1]) == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
