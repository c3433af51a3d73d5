use monotile::prelude::*;

/// `sample` with explicit roles for BV = 1024, BC = 256.
#[tile::kernel]
pub fn sample(logits: &Global<f32, 2>, best: &Global<f32, 2>, token: &Global<i32, 2>, request: &Global<i32, 1>, state: &Global<i32, 1>, choice: &mut Global<i32, 1>) {
    require!(best.dim(0) == logits.dim(0));
    require!(best.dim(1) == cdiv(logits.dim(1), 1024i32));
    require!(choice.dim(0) == logits.dim(0));
    let [t] = work([choice.dim(0)]);
    role("math", 0, 0, || {
        let rows = state.at([1]);
        let t_2 = if t < rows {
            t >= (rows - state.at([2]))
        } else {
            false
        };
        if t_2 {
            let chunks = best.dim(1);
            let mut top = f32::NEG_INFINITY;
            let mut chosen = token.at([t, 0]);
            for j in 0..cdiv(chunks, 256i32) {
                let t_3 = best.load::<Tile<f32, 256>>([t, j]);
                let t_4 = Tile::<i32, 256>::row_index();
                let x = select(((j * 256) + t_4).lt(chunks), t_3, Tile::<f32, 256>::full(f32::NEG_INFINITY));
                let (top_2, chosen_2) = if x.all_max() > top {
                    let top_3 = x.all_max();
                    let chosen_3 = token.at([t, (j * 256) + x.all_argmax()]);
                    (top_3, chosen_3)
                } else {
                    (top, chosen)
                };
                top = top_2;
                chosen = chosen_2;
            }
            let temperature = from_bits(request.at([6]));
            let chosen_4 = if temperature > 0.0 {
                let low = request.at([3]);
                let high = request.at([4]);
                let b = request.at([5]);
                let a = state.at([0]) + t;
                let c = 0i32.cast::<i32>();
                let d = 0i32.cast::<i32>();
                let first = (mul_high(c, -845247145) ^ b) ^ low;
                let third = (mul_high(a, -766435501) ^ d) ^ high;
                let b_2 = c * (-845247145);
                let d_2 = a * (-766435501);
                let low_2 = low + (-1640531527);
                let high_2 = high + (-1150833019);
                let first_2 = (mul_high(third, -845247145) ^ b_2) ^ low_2;
                let third_2 = (mul_high(first, -766435501) ^ d_2) ^ high_2;
                let b_3 = third * (-845247145);
                let d_3 = first * (-766435501);
                let low_3 = low_2 + (-1640531527);
                let high_3 = high_2 + (-1150833019);
                let first_3 = (mul_high(third_2, -845247145) ^ b_3) ^ low_3;
                let third_3 = (mul_high(first_2, -766435501) ^ d_3) ^ high_3;
                let b_4 = third_2 * (-845247145);
                let d_4 = first_2 * (-766435501);
                let low_4 = low_3 + (-1640531527);
                let high_4 = high_3 + (-1150833019);
                let first_4 = (mul_high(third_3, -845247145) ^ b_4) ^ low_4;
                let third_4 = (mul_high(first_3, -766435501) ^ d_4) ^ high_4;
                let b_5 = third_3 * (-845247145);
                let d_5 = first_3 * (-766435501);
                let low_5 = low_4 + (-1640531527);
                let high_5 = high_4 + (-1150833019);
                let first_5 = (mul_high(third_4, -845247145) ^ b_5) ^ low_5;
                let third_5 = (mul_high(first_4, -766435501) ^ d_5) ^ high_5;
                let b_6 = third_4 * (-845247145);
                let d_6 = first_4 * (-766435501);
                let low_6 = low_5 + (-1640531527);
                let high_6 = high_5 + (-1150833019);
                let first_6 = (mul_high(third_5, -845247145) ^ b_6) ^ low_6;
                let third_6 = (mul_high(first_5, -766435501) ^ d_6) ^ high_6;
                let b_7 = third_5 * (-845247145);
                let d_7 = first_5 * (-766435501);
                let low_7 = low_6 + (-1640531527);
                let high_7 = high_6 + (-1150833019);
                let first_7 = (mul_high(third_6, -845247145) ^ b_7) ^ low_7;
                let third_7 = (mul_high(first_6, -766435501) ^ d_7) ^ high_7;
                let b_8 = third_6 * (-845247145);
                let d_8 = first_6 * (-766435501);
                let low_8 = low_7 + (-1640531527);
                let high_8 = high_7 + (-1150833019);
                let first_8 = (mul_high(third_7, -845247145) ^ b_8) ^ low_8;
                let third_8 = (mul_high(first_7, -766435501) ^ d_8) ^ high_8;
                let d_9 = first_7 * (-766435501);
                let low_9 = low_8 + (-1640531527);
                let high_9 = high_8 + (-1150833019);
                let third_9 = (mul_high(first_8, -766435501) ^ d_9) ^ high_9;
                let b_9 = third_8 * (-845247145);
                let low_10 = low_9 + (-1640531527);
                let first_9 = (mul_high(third_9, -845247145) ^ b_9) ^ low_10;
                let u = shr_logical(first_9, 8).cast::<f32>() * 5.9604645e-8;
                let t_5 = 1.0 / temperature;
                let t_6 = request.at([7]);
                let t_7 = from_bits(request.at([8]));
                let vocab = logits.dim(1);
                let bits = to_bits(top);
                let ceiling = (bits ^ ((bits >> 31) & 2147483647)) + 1;
                let least = (-2147483648i32).cast::<i32>();
                let (least_2, end) = if (t_6 > 0) & (t_6 < vocab) {
                    let mut least_3 = least;
                    let mut ceiling_2 = ceiling;
                    for _ in pipelined::<1>(0..32) {
                        let middle = least_3 + shr_logical(ceiling_2 - least_3, 1);
                        let t_8 = (-2147483648i32).cast::<i32>();
                        let mut count = 0i32;
                        for c_2 in 0..best.dim(1) {
                            let bits_2 = to_bits(best.at([t, c_2]));
                            count = if (bits_2 ^ ((bits_2 >> 31) & 2147483647)) >= middle {
                                let x_2 = logits.load::<Tile<f32, 1024>>([t, c_2]);
                                let bits_3 = x_2.to_bits();
                                let keys = bits_3 ^ ((bits_3 >> 31) & 2147483647);
                                let t_9 = logits.dim(1);
                                let index = Tile::<i32, 1024>::row_index() + (c_2 * 1024);
                                let t_10 = index.lt(t_9) & (keys.gt(t_8) | (keys.eq(t_8) & index.lt(vocab)));
                                let inside = t_10 & keys.ge(middle);
                                let t_11 = select(inside, Tile::<i32, 1024>::full(1), Tile::<i32, 1024>::zero());
                                let count_2 = count + t_11.all_sum();
                                count_2
                            } else {
                                count
                            };
                        }
                        let enough = count >= t_6;
                        least_3 = select(enough, middle, least_3);
                        ceiling_2 = select(enough, ceiling_2, middle);
                    }
                    let t_12 = least_3 + 1;
                    let t_13 = (-2147483648i32).cast::<i32>();
                    let mut count_3 = 0i32;
                    for c_3 in 0..best.dim(1) {
                        let bits_4 = to_bits(best.at([t, c_3]));
                        count_3 = if (bits_4 ^ ((bits_4 >> 31) & 2147483647)) >= t_12 {
                            let x_3 = logits.load::<Tile<f32, 1024>>([t, c_3]);
                            let bits_5 = x_3.to_bits();
                            let keys_2 = bits_5 ^ ((bits_5 >> 31) & 2147483647);
                            let t_14 = logits.dim(1);
                            let index_2 = Tile::<i32, 1024>::row_index() + (c_3 * 1024);
                            let t_15 = index_2.lt(t_14) & (keys_2.gt(t_13) | (keys_2.eq(t_13) & index_2.lt(vocab)));
                            let inside_2 = t_15 & keys_2.ge(t_12);
                            let t_16 = select(inside_2, Tile::<i32, 1024>::full(1), Tile::<i32, 1024>::zero());
                            let count_4 = count_3 + t_16.all_sum();
                            count_4
                        } else {
                            count_3
                        };
                    }
                    let seen = t_6 - count_3;
                    let mut seen_2 = 0i32;
                    let mut end_2 = 0i32;
                    for c_4 in 0..best.dim(1) {
                        let t_17 = if seen_2 < seen {
                            let bits_6 = to_bits(best.at([t, c_4]));
                            (bits_6 ^ ((bits_6 >> 31) & 2147483647)) >= least_3
                        } else {
                            false
                        };
                        let (seen_3, end_3) = if t_17 {
                            let index_3 = Tile::<i32, 1024>::row_index() + (c_4 * 1024);
                            let bits_7 = logits.load::<Tile<f32, 1024>>([t, c_4]).to_bits();
                            let equal = (bits_7 ^ ((bits_7 >> 31) & 2147483647)).eq(least_3) & index_3.lt(logits.dim(1));
                            let here = select(equal, Tile::<i32, 1024>::full(1), Tile::<i32, 1024>::zero());
                            let (seen_4, end_4) = if (seen_2 + here.all_sum()) < seen {
                                let seen_5 = seen_2 + here.all_sum();
                                (seen_5, end_2)
                            } else {
                                let low_11 = c_4 * 1024;
                                let mut low_12 = low_11;
                                let mut high_10 = low_11 + 1024;
                                for _ in pipelined::<1>(0..32) {
                                    let middle_2 = low_12 + ((high_10 - low_12) / 2);
                                    let t_18 = select(index_3.lt(middle_2), here, Tile::<i32, 1024>::zero());
                                    let enough_2 = (seen_2 + t_18.all_sum()) >= seen;
                                    high_10 = select(enough_2, middle_2, high_10);
                                    low_12 = select(enough_2, low_12, (middle_2 + 1).min(high_10));
                                }
                                (seen, high_10)
                            };
                            (seen_4, end_4)
                        } else {
                            (seen_2, end_2)
                        };
                        seen_2 = seen_3;
                        end_2 = end_3;
                    }
                    (least_3, end_2)
                } else {
                    (least, vocab)
                };
                let mut mass = 0.0f32;
                for c_5 in 0..best.dim(1) {
                    let bits_8 = to_bits(best.at([t, c_5]));
                    mass = if (bits_8 ^ ((bits_8 >> 31) & 2147483647)) >= least_2 {
                        let x_4 = logits.load::<Tile<f32, 1024>>([t, c_5]);
                        let bits_9 = x_4.to_bits();
                        let keys_3 = bits_9 ^ ((bits_9 >> 31) & 2147483647);
                        let t_19 = logits.dim(1);
                        let index_4 = Tile::<i32, 1024>::row_index() + (c_5 * 1024);
                        let t_20 = index_4.lt(t_19) & (keys_3.gt(least_2) | (keys_3.eq(least_2) & index_4.lt(end)));
                        let inside_3 = t_20 & keys_3.ge(least_2);
                        let t_21 = select(inside_3, ((x_4 - top) * t_5).exp(), Tile::<f32, 1024>::zero());
                        let mass_2 = mass + t_21.all_sum();
                        mass_2
                    } else {
                        mass
                    };
                }
                let (least_4, end_5, total) = if t_7 < 1.0 {
                    let limit = mass * t_7;
                    let mut least_5 = least_2;
                    let mut ceiling_3 = ceiling;
                    for _ in pipelined::<1>(0..32) {
                        let middle_3 = least_5 + shr_logical(ceiling_3 - least_5, 1);
                        let mut mass_3 = 0.0f32;
                        for c_6 in 0..best.dim(1) {
                            let bits_10 = to_bits(best.at([t, c_6]));
                            mass_3 = if (bits_10 ^ ((bits_10 >> 31) & 2147483647)) >= middle_3 {
                                let x_5 = logits.load::<Tile<f32, 1024>>([t, c_6]);
                                let bits_11 = x_5.to_bits();
                                let keys_4 = bits_11 ^ ((bits_11 >> 31) & 2147483647);
                                let t_22 = logits.dim(1);
                                let index_5 = Tile::<i32, 1024>::row_index() + (c_6 * 1024);
                                let t_23 = index_5.lt(t_22) & (keys_4.gt(least_2) | (keys_4.eq(least_2) & index_5.lt(end)));
                                let inside_4 = t_23 & keys_4.ge(middle_3);
                                let t_24 = select(inside_4, ((x_5 - top) * t_5).exp(), Tile::<f32, 1024>::zero());
                                let mass_4 = mass_3 + t_24.all_sum();
                                mass_4
                            } else {
                                mass_3
                            };
                        }
                        let enough_3 = mass_3 >= limit;
                        least_5 = select(enough_3, middle_3, least_5);
                        ceiling_3 = select(enough_3, ceiling_3, middle_3);
                    }
                    let t_25 = least_5 + 1;
                    let mut count_5 = 0i32;
                    let mut mass_5 = 0.0f32;
                    for c_7 in 0..best.dim(1) {
                        let bits_12 = to_bits(best.at([t, c_7]));
                        let (count_6, mass_6) = if (bits_12 ^ ((bits_12 >> 31) & 2147483647)) >= t_25 {
                            let x_6 = logits.load::<Tile<f32, 1024>>([t, c_7]);
                            let bits_13 = x_6.to_bits();
                            let keys_5 = bits_13 ^ ((bits_13 >> 31) & 2147483647);
                            let t_26 = logits.dim(1);
                            let index_6 = Tile::<i32, 1024>::row_index() + (c_7 * 1024);
                            let t_27 = index_6.lt(t_26) & (keys_5.gt(least_2) | (keys_5.eq(least_2) & index_6.lt(end)));
                            let inside_5 = t_27 & keys_5.ge(t_25);
                            let t_28 = select(inside_5, Tile::<i32, 1024>::full(1), Tile::<i32, 1024>::zero());
                            let count_7 = count_5 + t_28.all_sum();
                            let t_29 = select(inside_5, ((x_6 - top) * t_5).exp(), Tile::<f32, 1024>::zero());
                            let mass_7 = mass_5 + t_29.all_sum();
                            (count_7, mass_7)
                        } else {
                            (count_5, mass_5)
                        };
                        count_5 = count_6;
                        mass_5 = mass_6;
                    }
                    let mut count_8 = 0i32;
                    let mut mass_8 = 0.0f32;
                    for c_8 in 0..best.dim(1) {
                        let bits_14 = to_bits(best.at([t, c_8]));
                        let (count_9, mass_9) = if (bits_14 ^ ((bits_14 >> 31) & 2147483647)) >= least_5 {
                            let x_7 = logits.load::<Tile<f32, 1024>>([t, c_8]);
                            let bits_15 = x_7.to_bits();
                            let keys_6 = bits_15 ^ ((bits_15 >> 31) & 2147483647);
                            let t_30 = logits.dim(1);
                            let index_7 = Tile::<i32, 1024>::row_index() + (c_8 * 1024);
                            let t_31 = index_7.lt(t_30) & (keys_6.gt(least_2) | (keys_6.eq(least_2) & index_7.lt(end)));
                            let inside_6 = t_31 & keys_6.ge(least_5);
                            let t_32 = select(inside_6, Tile::<i32, 1024>::full(1), Tile::<i32, 1024>::zero());
                            let count_10 = count_8 + t_32.all_sum();
                            let t_33 = select(inside_6, ((x_7 - top) * t_5).exp(), Tile::<f32, 1024>::zero());
                            let mass_10 = mass_8 + t_33.all_sum();
                            (count_10, mass_10)
                        } else {
                            (count_8, mass_8)
                        };
                        count_8 = count_9;
                        mass_8 = mass_9;
                    }
                    let one = (mass_8 - mass_5) / (count_8 - count_5).cast::<f32>();
                    let needed = ((limit - mass_5) / one).min(16777216.0).cast::<i32>();
                    let needed_2 = select((mass_5 + (needed.cast::<f32>() * one)) < limit, needed + 1, needed);
                    let needed_3 = needed_2.max(select(count_5 == 0, 1, 0)).min(count_8 - count_5);
                    let mut seen_6 = 0i32;
                    let mut end_6 = 0i32;
                    for c_9 in 0..best.dim(1) {
                        let t_34 = if seen_6 < needed_3 {
                            let bits_16 = to_bits(best.at([t, c_9]));
                            (bits_16 ^ ((bits_16 >> 31) & 2147483647)) >= least_5
                        } else {
                            false
                        };
                        let (seen_7, end_7) = if t_34 {
                            let index_8 = Tile::<i32, 1024>::row_index() + (c_9 * 1024);
                            let bits_17 = logits.load::<Tile<f32, 1024>>([t, c_9]).to_bits();
                            let equal_2 = (bits_17 ^ ((bits_17 >> 31) & 2147483647)).eq(least_5) & index_8.lt(logits.dim(1));
                            let here_2 = select(equal_2, Tile::<i32, 1024>::full(1), Tile::<i32, 1024>::zero());
                            let (seen_8, end_8) = if (seen_6 + here_2.all_sum()) < needed_3 {
                                let seen_9 = seen_6 + here_2.all_sum();
                                (seen_9, end_6)
                            } else {
                                let low_13 = c_9 * 1024;
                                let mut low_14 = low_13;
                                let mut high_11 = low_13 + 1024;
                                for _ in pipelined::<1>(0..32) {
                                    let middle_4 = low_14 + ((high_11 - low_14) / 2);
                                    let t_35 = select(index_8.lt(middle_4), here_2, Tile::<i32, 1024>::zero());
                                    let enough_4 = (seen_6 + t_35.all_sum()) >= needed_3;
                                    high_11 = select(enough_4, middle_4, high_11);
                                    low_14 = select(enough_4, low_14, (middle_4 + 1).min(high_11));
                                }
                                (needed_3, high_11)
                            };
                            (seen_8, end_8)
                        } else {
                            (seen_6, end_6)
                        };
                        seen_6 = seen_7;
                        end_6 = end_7;
                    }
                    let total_2 = mass_5 + (needed_3.cast::<f32>() * one);
                    (least_5, end_6, total_2)
                } else {
                    (least_2, end, mass)
                };
                let t_36 = total * u;
                let mut sum = 0.0f32;
                let mut found = -1i32;
                let mut last = 0i32;
                for c_10 in 0..best.dim(1) {
                    let t_37 = if found < 0 {
                        let bits_18 = to_bits(best.at([t, c_10]));
                        (bits_18 ^ ((bits_18 >> 31) & 2147483647)) >= least_4
                    } else {
                        false
                    };
                    let (next, high_12, last_2) = if t_37 {
                        let x_8 = logits.load::<Tile<f32, 1024>>([t, c_10]);
                        let index_9 = Tile::<i32, 1024>::row_index() + (c_10 * 1024);
                        let bits_19 = x_8.to_bits();
                        let t_38 = bits_19 ^ ((bits_19 >> 31) & 2147483647);
                        let t_39 = logits.dim(1);
                        let index_10 = Tile::<i32, 1024>::row_index() + (c_10 * 1024);
                        let inside_7 = index_10.lt(t_39) & (t_38.gt(least_4) | (t_38.eq(least_4) & index_10.lt(end_5)));
                        let weights = select(inside_7, ((x_8 - top) * t_5).exp(), Tile::<f32, 1024>::zero());
                        let next_2 = sum + weights.all_sum();
                        let t_40 = select(inside_7, index_9, Tile::<i32, 1024>::zero()).all_max();
                        let last_3 = last.max(t_40);
                        let high_13 = if next_2 > t_36 {
                            let low_15 = c_10 * 1024;
                            let mut low_16 = low_15;
                            let mut high_14 = low_15 + 1023;
                            for _ in pipelined::<1>(0..32) {
                                let middle_5 = low_16 + ((high_14 - low_16) / 2);
                                let t_41 = select(index_9.le(middle_5), weights, Tile::<f32, 1024>::zero());
                                let exceeds = (sum + t_41.all_sum()) > t_36;
                                high_14 = select(exceeds, middle_5, high_14);
                                low_16 = select(exceeds, low_16, (middle_5 + 1).min(high_14));
                            }
                            high_14
                        } else {
                            found
                        };
                        (next_2, high_13, last_3)
                    } else {
                        (sum, found, last)
                    };
                    sum = next;
                    found = high_12;
                    last = last_2;
                }
                let chosen_5 = select(found < 0, last, found);
                chosen_5
            } else {
                chosen
            };
            choice.set([t], chosen_4);
        }
    });
}
