# An older entry needs a rebuild: done where no group would lose what it has pending, else reported.
replicas us eu
us: XADD free 1-0 f v
all: XADD free 2-0 f v
us: XADD grouped 1-0 f v
all: XADD grouped 2-0 f v
eu: XGROUP CREATE grouped readers 0
repair
> "free": wrote eu
> "grouped": wrote us; left: the stream needs a rebuild, which would lose what its consumer groups have pending
> exit 1
show
> "free" all: stream [1-0 {"f": "v"}, 2-0 {"f": "v"}] last 2-0
> "grouped" us: stream [1-0 {"f": "v"}, 2-0 {"f": "v"}] last 2-0 groups "readers"
> "grouped" eu: stream [2-0 {"f": "v"}] last 2-0 groups "readers"
