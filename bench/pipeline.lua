-- pipeline.lua -- for wrk: 16 requests at a time.
local requests

function init()
    local one = wrk.format("GET", "/")
    requests = string.rep(one, 16)
end

function request()
    return requests
end
