# Bitmaps are joined bit by bit, the shorter one taken as followed by zeros.
replicas us eu
us: SET seen "\x80"
eu: SET seen "\x01\x0f"
repair --rule string=bitmap-or
> "seen": wrote us eu
> exit 0
show
> "seen" all: string "\x81\x0f"
