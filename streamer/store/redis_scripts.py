"""The Lua script of the Redis store: a commit, one transaction on the slot of a partition.

A script that fails at its first write has changed nothing (Redis refuses there when it is out of
memory or read-only), so the append to the log, which also fails where the log and the meta hash
disagree, comes first.
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
