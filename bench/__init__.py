"""What we measure: figures of merit and the benchmarks that print them."""
