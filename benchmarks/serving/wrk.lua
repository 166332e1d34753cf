-- Sends bodies from files in turn, and says at the end what happened, as one line of JSON.
-- wrk ... -s wrk.lua URL -- PATH HEADERS BODY...     HEADERS is a file of lines "Name: value"
local requests, turn = {}, 0

local function read(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

function init(args)
  local headers = {}
  for name, value in read(args[2]):gmatch("([^:\n]+): ([^\n]*)") do headers[name] = value end
  for index = 3, #args do
    requests[#requests + 1] = wrk.format("POST", args[1], headers, read(args[index]))
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "bad": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
