-- For wrk: each request a new purchase under a key of its own. LOAD_BODY: file with the body, in which @ID@ and
-- @CUSTOMER@ are replaced; LOAD_KEY: API key; LOAD_RUN: what no other run has.
-- wrk itself counts a redirect as an answer, and a connection that was closed in place of one as nothing at all: so
-- each thread counts what it sent and what came back.
local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
  thread:set("thread_number", #threads)
end

function init(arguments)
  local file = assert(io.open(os.getenv("LOAD_BODY"), "r"))
  body = file:read("*a")
  file:close()
  run, key, sent, not_decided = os.getenv("LOAD_RUN"), os.getenv("LOAD_KEY"), 0, 0
end

function request()
  sent = sent + 1
  local id = string.format("%s-%d-%d", run, thread_number, sent)
  local headers = { ["Content-Type"] = "application/json", ["Idempotency-Key"] = id }
  if key and key ~= "" then headers["Authorization"] = "Bearer " .. key end
  local own = body:gsub("@ID@", id):gsub("@CUSTOMER@", "shopper-" .. (sent * 7919 % 2000))
  return wrk.format("POST", "/v1/decisions", headers, own)
end

function response(status)
  if status ~= 200 then not_decided = not_decided + 1 end
end

function done(summary, latency, requests)
  local errors, sent, not_decided = summary.errors, 0, 0
  for _, thread in ipairs(threads) do
    sent, not_decided = sent + thread:get("sent"), not_decided + thread:get("not_decided")
  end
  local failed = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    'found {"requests": %d, "seconds": %.3f, "p50_ms": %.2f, "p99_ms": %.2f, "most_ms": %.2f, "not_200": %d, "lost": %d, "unanswered": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, not_decided, failed, sent - summary.requests))
end
