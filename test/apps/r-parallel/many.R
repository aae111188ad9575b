# Forked workers of the parallel package: mclapply, mcparallel and mccollect. Each seed belongs to its task, not to its worker.
library(parallel)
size <- as.integer(commandArgs(trailingOnly = TRUE)[1])
task <- function(seed) {
  set.seed(seed)
  m <- matrix(rnorm(3600), 60)
  c(seed, sum(svd(m)$d), mean(sort(runif(20000))[1:50]))
}
results <- mclapply(seq_len(size), task, mc.cores = 3, mc.preschedule = FALSE)
write.csv(do.call(rbind, results), "tasks.csv")
jobs <- lapply(1:4, function(n) mcparallel(sum(sapply(seq_len(size %/% 4), function(k) task(k * n)[2]))))
print(unlist(mccollect(jobs), use.names = FALSE), digits = 15)
print(system("echo a program of its own | wc -c", intern = TRUE))
print(unlist(pvec(seq_len(1000), function(x) sqrt(x), mc.cores = 2))[1000], digits = 15)
quit(status = 4)
