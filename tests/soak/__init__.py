"""A soak: every kind of trouble at once, for minutes or hours, against one server. `make soak ARGS="minutes=20"`.

    plan.py       how long, how many of each, and the server's limits
    server.py     the server, in a process of its own, which says why each client left
    steady.py     publishers and readers that must lose nothing          messages.py    what they send and check
    trouble.py    all who come and go, in one process                    ground.py      what they share
                  visitors.py, nonsense.py, laggards.py                  one kind of client a function
    mortals.py    clients in processes that are stopped or killed        floods.py      floods, by the compiled load
    cut_off.py    half-open peers: whose packets no longer arrive        far.py         readers behind a bad wire
    running.py    starts all of them, asks each once a second            programs.py    how they are asked
    departures.py matches how clients ended with what the server says
    trend.py      slopes that a spike does not move                      verdict.py     PASS or FAIL, line by line
    draw.py       pictures of it

Server and population are in a network namespace of the soak's own, and those who are cut off or far away in others.
Without the right to make some (root), `ip`, or TUN, the soak says what it goes without.

What would make it lie: the readers share a core with the population, so that latency is a bound on the server's and
no more; and when this machine stands still, so do readers, which the server may then close with reason (`pause_ms`
says how long they did).
"""
