-- What a login finds when it begins: the generation or '', when the last revocation expires or '', and the time, in milliseconds.
-- KEYS: user, revocations
local generation = string.match(redis.call('GETRANGE', KEYS[1], 0, 19), '^%S*')
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
local time = redis.call('TIME')
return {generation, last or '', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))}
