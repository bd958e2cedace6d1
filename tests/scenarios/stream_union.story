# Newer entries are appended and missing groups created, beside groups that are there.
replicas us eu
all: XADD log 1-0 f v
us: XADD log 2-0 f v
all: XGROUP CREATE log readers 0
eu: XGROUP CREATE log writers 0
repair
> "log": wrote us eu
> exit 0
show
> "log" all: stream [1-0 {"f": "v"}, 2-0 {"f": "v"}] last 2-0 groups "readers", "writers"

# The last ID is raised where the newest entry was removed.
us: XADD log 3-0 f v
us: XDEL log 3-0
repair
> "log": wrote eu
> exit 0
show
> "log" all: stream [1-0 {"f": "v"}, 2-0 {"f": "v"}] last 3-0 groups "readers", "writers"
