"""The Lua scripts of the Redis store: each runs as one transaction on the slot of a partition.

A script that fails at its first write has changed nothing (Redis refuses there when it is out of
memory or read-only), so the append to the log, which also fails where the log and the meta hash
disagree, always comes first.
"""

from __future__ import annotations

from typing import Final

REPLACE_LAYOUT: Final = """
-- KEYS  layout
-- ARGV  the layout that is to be there ('': none), the one to write
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return {'other'} end
redis.call('SET', KEYS[1], ARGV[2])
return {'done'}
"""

COMMIT: Final = """
-- KEYS  meta, log, schedule
-- ARGV  owner, version, version before, watermark, entry, schedule, schedules kept,
--       then topic, from, to for each input topic
local meta = redis.call('HMGET', KEYS[1], 'owner', 'version')
local version = meta[2] or '0'
if meta[1] ~= ARGV[1] then return {'owner', meta[1]} end
if version == ARGV[2] then
  local last = redis.call('XRANGE', KEYS[2], ARGV[2] .. '-0', ARGV[2] .. '-0')[1]
  if last and last[2][2] == ARGV[5] then return {'repeated'} end
end
if version ~= ARGV[3] then return {'version', version} end
-- Offsets and versions are compared as text: a number in Lua is exact up to 2^53 only.
for i = 8, #ARGV, 3 do
  local stored = redis.call('HGET', KEYS[1], 'offset:' .. ARGV[i])
  if stored and stored ~= ARGV[i + 1] then return {'offset', ARGV[i], stored} end
end
local id = ARGV[2] .. '-0'
redis.call('XADD', KEYS[2], id, 'e', ARGV[5])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], id, 's', ARGV[6])
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'watermark_ms', ARGV[4])
for i = 8, #ARGV, 3 do
  redis.call('HSET', KEYS[1], 'offset:' .. ARGV[i], ARGV[i + 2])
end
return {'done'}
"""

CHECKPOINT: Final = """
-- KEYS  meta, log, then one hash for each table and for the names of each entity
-- ARGV  owner, version, checkpoint, log entries kept,
--       then for each hash: fields to drop, fields to set (8 bytes each), bytes a value,
--       the values' own lengths (u32 each; read when bytes a value is 0), values
local meta = redis.call('HMGET', KEYS[1], 'owner', 'version', 'checkpoint_version')
if meta[1] ~= ARGV[1] then return {'owner', meta[1]} end
local version, last = tonumber(meta[2] or '0'), tonumber(meta[3] or '0')
local asked = tonumber(ARGV[2])
if asked > version or asked < last then
  return {'checkpoint', string.format('%.0f', last), string.format('%.0f', version)}
end

-- unpack() takes some 8,000 values at most.
local function flush(command, key, batch, n)
  if n > 0 then redis.call(command, key, unpack(batch, 1, n)) end
end

local function drop(key, fields)
  local batch, n = {}, 0
  for at = 1, #fields, 8 do
    n = n + 1
    batch[n] = string.sub(fields, at, at + 7)
    if n == 4000 then flush('HDEL', key, batch, n); n = 0 end
  end
  flush('HDEL', key, batch, n)
end

local function set(key, fields, width, lengths, values)
  local batch, n, start, i = {}, 0, 1, 1
  for at = 1, #fields, 8 do
    local size = width
    if size == 0 then size, i = struct.unpack('<I4', lengths, i) end
    batch[n + 1] = string.sub(fields, at, at + 7)
    batch[n + 2] = string.sub(values, start, start + size - 1)
    n, start = n + 2, start + size
    if n == 4000 then flush('HSET', key, batch, n); n = 0 end
  end
  flush('HSET', key, batch, n)
end

for k = 3, #KEYS do
  local a = 5 * (k - 2)
  drop(KEYS[k], ARGV[a])
  set(KEYS[k], ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3], ARGV[a + 4])
end
redis.call('HSET', KEYS[1], 'checkpoint_version', ARGV[2], 'checkpoint', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'n_checkpoints', 1)
local trimmed = math.min(asked, version - tonumber(ARGV[4]))
redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f-0', math.max(0, trimmed) + 1))
return {'done'}
"""
