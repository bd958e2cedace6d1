# Both sides wrote a string: without a preference the first datacenter wins, else the preferred one that holds it.
replicas us eu ap
us: SET s american
eu: SET s european
ap: SET s pacific
repair
> "s": wrote eu ap
> exit 0
show
> "s" all: string "american"

us: SET t american
eu: SET t european
repair --prefer ap,eu
> "t": wrote us ap
> exit 0
show
> "s" all: string "american"
> "t" all: string "european"
