"""What ``fastpubsub bench`` does: one load after another against a server, and what each cost.

    workloads    what is run, from what was asked for        running     one workload: the load, and the server's cost
    ownserver    the server that it starts by itself         outcome     what came of it
    cost         CPU and memory of processes, from outside   screen      and how people see that
"""
