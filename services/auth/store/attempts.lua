-- Counters of attempts, checked and counted in one step. KEYS[1] marks a familiar caller; each other key is a counter,
-- the first of them that of account and address together. ARGV: operation, how long a counter and a mark are kept, and
-- for each counter how many attempts are free, the first pause and the longest. All times are in milliseconds.
-- services/auth/store/attempts.py does the same in memory.

local operation, kept, familiar_for = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local familiar = redis.call('EXISTS', KEYS[1]) == 1
local heeded = familiar and 2 or #KEYS

local function count(place, by)
    local key, free = KEYS[place], tonumber(ARGV[3 * place - 2])
    local first, longest = tonumber(ARGV[3 * place - 1]), tonumber(ARGV[3 * place])
    local counted = redis.call('HINCRBY', key, 'count', by)
    if counted <= 0 then
        redis.call('DEL', key)
        return
    end
    if counted < free then
        redis.call('HDEL', key, 'until')
    elseif by >= 0 then
        local pause = math.min(longest, first * 2 ^ math.min(counted - free, 60))
        redis.call('HSET', key, 'until', string.format('%.0f', now + pause))
    end
    redis.call('PEXPIRE', key, kept)
end

local function count_all(from, to, by)
    for place = from, to do
        count(place, by)
    end
end

if operation == 'check' then
    local wait = 0
    for place = 2, heeded do
        wait = math.max(wait, (tonumber(redis.call('HGET', KEYS[place], 'until')) or 0) - now)
    end
    if wait > 0 then
        return wait
    end
    count_all(2, heeded, 1)
elseif operation == 'failed' then
    count_all(2, heeded, 0)
    count_all(heeded + 1, #KEYS, 1)
elseif operation == 'succeeded' then
    redis.call('DEL', KEYS[2])
    count_all(3, heeded, -1)
    redis.call('SET', KEYS[1], '', 'PX', familiar_for)
elseif operation == 'withdrawn' then
    count_all(2, heeded, -1)
end
return 0
