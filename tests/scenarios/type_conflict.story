# The type is chosen first, as a register; then the siblings of that type are merged.
replicas us eu ap
us: SADD k a
eu: SET k text
ap: SADD k b
repair
> "k": wrote us eu ap
> exit 0
show
> "k" all: set {"a", "b"}

us ap: SADD other a
eu: SET other text
repair --prefer eu
> "other": wrote us ap
> exit 0
show
> "k" all: set {"a", "b"}
> "other" all: string "text"
