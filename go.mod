module ktrace

go 1.24
