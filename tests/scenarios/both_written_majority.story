# What more than half of the siblings hold wins over the first datacenter; without a majority the next step decides.
replicas us eu ap
us: SET s one
eu ap: SET s two
us: SET t one
eu: SET t two
ap: SET t three
repair --prefer majority,greatest
> "s": wrote us
> "t": wrote us ap
> exit 0
show
> "s" all: string "two"
> "t" all: string "two"
