/* What a step without prefill takes: a line over its rows, fitted to the measured times.
 *
 * Reading the weights costs the same for any number of rows, arithmetic grows with them. Plain data
 * inside the planner: no clock, the times come in. */
#ifndef WICARA_SCHEDULER_STEP_COST_H
#define WICARA_SCHEDULER_STEP_COST_H

/* Sums of least squares that fade. Zeros: nothing is known. */
struct step_cost {
    double n, rows, us, rows_rows, rows_us;
};

/* fixed_us + rows * row_us. */
struct step_line {
    double fixed_us, row_us;
};

void step_cost_add(struct step_cost *cost, double rows, double us);

/* Zeros when nothing was added; a guess at the slope while all steps had about the same rows. */
struct step_line step_cost_line(const struct step_cost *cost);

/* The slope of that guess, for a step that costs 1 without rows. */
double step_cost_prior(void);

#endif
