from benchmarks.race import main

main()
