/* The line of step_cost.h: least squares whose past fades, the last 90 steps count for half of it.
 *
 * The machine is shared: a late step counts as three times the mean at most, and the slope stays
 * between an eighth of the guess and what a step without fixed part would have. */
#include "engine/scheduler/step_cost.h"

static const double KEEP = 1 - 1.0 / 128;
static const double LATE = 3;
/* Before anything else is known, reading the weights counts like so many rows' arithmetic. */
static const double ROWS_A_FIXED_PART = 5;
static const double STEPS_MIN = 8, SPREAD_MIN = 0.25;  // rows squared

double step_cost_prior(void)
{
    return 1 / ROWS_A_FIXED_PART;
}

void step_cost_add(struct step_cost *cost, double rows, double us)
{
    double us_max = cost->n > 0 ? LATE * cost->us / cost->n : us;
    us = us < us_max ? us : us_max;
    cost->n = cost->n * KEEP + 1;
    cost->rows = cost->rows * KEEP + rows;
    cost->us = cost->us * KEEP + us;
    cost->rows_rows = cost->rows_rows * KEEP + rows * rows;
    cost->rows_us = cost->rows_us * KEEP + rows * us;
}

struct step_line step_cost_line(const struct step_cost *cost)
{
    if (cost->n == 0)
        return (struct step_line){0, 0};
    double rows = cost->rows / cost->n, us = cost->us / cost->n;
    double row_us = us / (rows + ROWS_A_FIXED_PART);
    double spread = cost->rows_rows / cost->n - rows * rows;
    if (cost->n > STEPS_MIN && spread > SPREAD_MIN) {
        double slope = (cost->rows_us / cost->n - rows * us) / spread;
        double least = row_us / 8, most = us / rows;  // whatever the noise says
        row_us = slope < least ? least : slope > most ? most : slope;
    }
    return (struct step_line){us - row_us * rows, row_us};
}
