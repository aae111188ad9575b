# A bootstrap of a regression, an eigenproblem and a sorted table, from a fixed seed.
rounds <- as.integer(commandArgs(trailingOnly = TRUE)[1])
set.seed(1729)
n <- 4000
x <- cbind(1, matrix(rnorm(n * 5), n))
y <- x %*% c(3, 1, -2, 0.5, 0, 1.5) + rnorm(n)
estimates <- matrix(0, rounds, 6)
for (i in seq_len(rounds)) {
  pick <- sample.int(n, replace = TRUE)
  estimates[i, ] <- qr.coef(qr(x[pick, ]), y[pick])
  if (i %% 50 == 0) cat(i, sprintf("%.15g", colMeans(estimates[1:i, , drop = FALSE])), "\n")
}
decomposed <- eigen(cov(estimates))
print(decomposed, digits = 15)
write.csv(apply(estimates, 2, sort), "estimates.csv", row.names = FALSE)
saveRDS(decomposed, "decomposed.rds")
quit(status = 3)
