# A key that is to be left is left and told of; others are repaired.
replicas us eu
us: SET s one
eu: SET s two
us: SET missed x
repair --prefer skip
> "missed": wrote eu
> "s": left: the preference says skip
> exit 1
show
> "missed" all: string "x"
> "s" us: string "one"
> "s" eu: string "two"
