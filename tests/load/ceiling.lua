-- For wrk: each request a new purchase under a key of its own. LOAD_BODY: file with the body, in which @ID@ and
-- @CUSTOMER@ are replaced; LOAD_KEY: API key; LOAD_RUN: what no other run has.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread_number", threads)
end

function init(arguments)
  local file = assert(io.open(os.getenv("LOAD_BODY"), "r"))
  body = file:read("*a")
  file:close()
  run, key, sent = os.getenv("LOAD_RUN"), os.getenv("LOAD_KEY"), 0
end

function request()
  sent = sent + 1
  local id = string.format("%s-%d-%d", run, thread_number, sent)
  local headers = { ["Content-Type"] = "application/json", ["Idempotency-Key"] = id }
  if key and key ~= "" then headers["Authorization"] = "Bearer " .. key end
  local own = body:gsub("@ID@", id):gsub("@CUSTOMER@", "shopper-" .. (sent * 7919 % 2000))
  return wrk.format("POST", "/v1/decisions", headers, own)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'found {"requests": %d, "seconds": %.3f, "p50_ms": %.2f, "p99_ms": %.2f, "most_ms": %.2f, "not_2xx": %d, "lost": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
