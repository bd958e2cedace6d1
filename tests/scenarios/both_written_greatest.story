# The greatest value by bytes wins, wherever it stands: "9" is greater than "10".
replicas us eu ap
us: SET s 10
eu: SET s 9
ap: SET s 1
repair --prefer greatest
> "s": wrote us ap
> exit 0
show
> "s" all: string "9"
