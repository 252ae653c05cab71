module unibus.test/golden/frames

go 1.21
